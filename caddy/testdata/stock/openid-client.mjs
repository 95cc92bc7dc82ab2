// npm openid-client 6: discovery, device flow, userinfo and a refresh.
import * as client from 'openid-client'
import { clientID, run, scope, show } from './device.mjs'

await run(async (issuer) => {
  const config = await client.discovery(issuer, clientID, undefined, client.None(), { execute: [client.allowInsecureRequests] })
  const prompt = await client.initiateDeviceAuthorization(config, { scope })
  show(prompt)
  const first = await client.pollDeviceAuthorizationGrant(config, prompt)
  await client.fetchUserInfo(config, first.access_token, first.claims().sub)
  const second = await client.refreshTokenGrant(config, first.refresh_token)
  return second.access_token
})
