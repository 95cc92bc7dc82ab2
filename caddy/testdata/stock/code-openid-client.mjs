// npm openid-client 6: discovery, authorization code with PKCE, userinfo and a refresh.
import * as client from 'openid-client'
import { listen, open } from './code.mjs'
import { run, scope } from './device.mjs'

await run(async (issuer) => {
  const config = await client.discovery(issuer, 'desktop', undefined, client.None(), { execute: [client.allowInsecureRequests] })
  const { redirect, arrived } = await listen()
  const pkceCodeVerifier = client.randomPKCECodeVerifier()
  const expectedState = client.randomState()
  const expectedNonce = client.randomNonce()
  open(client.buildAuthorizationUrl(config, {
    redirect_uri: redirect, scope, state: expectedState, nonce: expectedNonce,
    code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier), code_challenge_method: 'S256',
  }))
  const first = await client.authorizationCodeGrant(config, await arrived, {
    pkceCodeVerifier, expectedState, expectedNonce, idTokenExpected: true,
  })
  await client.fetchUserInfo(config, first.access_token, first.claims().sub)
  return (await client.refreshTokenGrant(config, first.refresh_token)).access_token
})
