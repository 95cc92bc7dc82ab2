// npm oauth4webapi 3: the same by hand, with its strict look at every answer.
import * as oauth from 'oauth4webapi'
import { listen, open } from './code.mjs'
import { run, scope } from './device.mjs'

const options = { [oauth.allowInsecureRequests]: true }
const client = { client_id: 'desktop' }

await run(async (issuer) => {
  const server = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...options }))
  const { redirect, arrived } = await listen()
  const verifier = oauth.generateRandomCodeVerifier()
  const state = oauth.generateRandomState()
  const nonce = oauth.generateRandomNonce()
  const asked = new URL(server.authorization_endpoint)
  for (const [name, value] of Object.entries({
    client_id: client.client_id, redirect_uri: redirect, response_type: 'code', scope, state, nonce,
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256',
  })) asked.searchParams.set(name, value)
  open(asked)
  const answer = oauth.validateAuthResponse(server, client, await arrived, state)
  const response = await oauth.authorizationCodeGrantRequest(server, client, oauth.None(), answer, redirect, verifier, options)
  const tokens = await oauth.processAuthorizationCodeResponse(server, client, response, { expectedNonce: nonce, requireIdToken: true })
  await oauth.validateApplicationLevelSignature(server, response, options)
  return tokens.access_token
})
