// npm openid-client 5: discovery, device flow, an ID token that has to be signed
// with RS256, userinfo and a refresh.
import { Issuer } from 'openid-client-5'
import { run, scope, show } from './device.mjs'

await run(async (url) => {
  const issuer = await Issuer.discover(url.origin)
  const client = new issuer.Client({ client_id: 'strict', token_endpoint_auth_method: 'none' })
  const handle = await client.deviceAuthorization({ scope })
  show(handle)
  const tokens = await handle.poll()
  await client.userinfo(tokens)
  const fresh = await client.refresh(tokens)
  return fresh.access_token
})
