// npm @modelcontextprotocol/sdk: from the guarded URL alone to the server's
// metadata and the resource to ask for, and a refresh for that resource. The SDK
// has no device flow: that is done here, with what it found.
import {
  discoverOAuthServerInfo, extractWWWAuthenticateParams, refreshAuthorization, selectResourceURL,
} from '@modelcontextprotocol/sdk/client/auth.js'
import { clientID, run, scope, show } from './device.mjs'

const post = async (url, form) => {
  const response = await fetch(url, { method: 'POST', body: new URLSearchParams(form) })
  return response.json()
}

await run(async (issuer) => {
  const api = new URL('/api/products', issuer)
  const refused = await fetch(api, { headers: { 'MCP-Protocol-Version': '2025-06-18' } })
  const { resourceMetadataUrl, scope: wanted } = extractWWWAuthenticateParams(refused)
  const found = await discoverOAuthServerInfo(api, { resourceMetadataUrl })
  const metadata = found.authorizationServerMetadata
  const resource = await selectResourceURL(api, {}, found.resourceMetadata)
  if (found.authorizationServerUrl !== issuer.origin || metadata?.issuer !== issuer.origin || !resource || wanted !== 'products:read') {
    throw new Error(`found ${JSON.stringify(found)} for ${resource} with ${wanted}`)
  }
  const prompt = await post(metadata.device_authorization_endpoint, { client_id: clientID, scope, resource: resource.href })
  show(prompt)
  let tokens
  do {
    await new Promise((resolve) => setTimeout(resolve, prompt.interval * 1000)) // RFC 8628 §3.5
    tokens = await post(metadata.token_endpoint, {
      grant_type: 'urn:ietf:params:oauth:grant-type:device_code', client_id: clientID, device_code: prompt.device_code, resource: resource.href,
    })
  } while (tokens.error === 'authorization_pending')
  if (tokens.error) throw tokens
  const fresh = await refreshAuthorization(found.authorizationServerUrl, {
    metadata, clientInformation: { client_id: clientID }, refreshToken: tokens.refresh_token, resource,
  })
  return fresh.access_token
})
