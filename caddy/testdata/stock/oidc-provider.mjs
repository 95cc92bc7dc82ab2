// An authorization server that somebody else wrote, for the terminal client and
// as an upstream: node oidc-provider.mjs <port> [<redirect URI of the gateway>].
// Everybody may sign in, with its own pages.
import { Provider } from 'oidc-provider'

const port = Number(process.argv[2])
const gateway = process.argv[3]
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
  }, ...(gateway ? [{
    client_id: 'gateway',
    client_secret: 'only-for-this-test',
    grant_types: ['authorization_code', 'refresh_token'],
    redirect_uris: [gateway],
  }] : [])],
  features: { deviceFlow: { enabled: true }, revocation: { enabled: true } },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  ttl: { AccessToken: 30 }, // less than the minute for which a kept token must be good
})
provider.listen(port, '127.0.0.1', () => console.log('listening'))
