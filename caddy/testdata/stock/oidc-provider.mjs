// An authorization server that somebody else wrote, for the terminal client:
// node oidc-provider.mjs <port>. Everybody may sign in, with its own pages.
import { Provider } from 'oidc-provider'

const port = Number(process.argv[2])
const issuer = `http://localhost:${port}`
const provider = new Provider(issuer, {
  clients: [{
    client_id: 'device-login',
    client_name: 'Terminal',
    application_type: 'native',
    token_endpoint_auth_method: 'none',
    grant_types: ['urn:ietf:params:oauth:grant-type:device_code', 'refresh_token'],
    redirect_uris: [],
    response_types: [],
  }],
  features: { deviceFlow: { enabled: true }, revocation: { enabled: true } },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  ttl: { AccessToken: 30 }, // less than the minute for which a kept token must be good
})
provider.listen(port, '127.0.0.1', () => console.log('listening'))
