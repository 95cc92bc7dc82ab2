// npm @modelcontextprotocol/sdk 1 and @modelcontextprotocol/client 2, with their own OAuth
// client: from the guarded URL alone to a token. Arguments: the issuer, the package, and how
// the client is known: configured, registered, or the URL of its document.
import { listen, open } from './code.mjs'
import { run } from './device.mjs'

const [, , , from, known] = process.argv
const { auth } = await import(from === '@modelcontextprotocol/sdk' ? `${from}/client/auth.js` : from)

await run(async (issuer) => {
  const api = new URL('/api/products', issuer)
  const { redirect, arrived } = await listen()
  const kept = { client: known === 'configured' ? { client_id: 'desktop' } : undefined }
  const provider = {
    redirectUrl: redirect,
    clientMetadata: { client_name: 'MCP client', redirect_uris: [redirect], token_endpoint_auth_method: 'none', grant_types: ['authorization_code', 'refresh_token'] },
    clientMetadataUrl: known.startsWith('https:') ? known : undefined,
    state: () => 'state-of-the-client',
    clientInformation: () => kept.client,
    saveClientInformation: (client) => { kept.client = client },
    tokens: () => kept.tokens,
    saveTokens: (tokens) => { kept.tokens = tokens },
    redirectToAuthorization: (url) => open(url),
    saveCodeVerifier: (verifier) => { kept.verifier = verifier },
    codeVerifier: () => kept.verifier,
    saveDiscoveryState: (state) => { kept.discovery = state },
    discoveryState: () => kept.discovery,
  }
  const refused = await fetch(api)
  const challenge = refused.headers.get('WWW-Authenticate')
  const resourceMetadataUrl = new URL(/resource_metadata="([^"]*)"/.exec(challenge)[1])
  const scope = /scope="([^"]*)"/.exec(challenge)?.[1]
  await auth(provider, { serverUrl: api, resourceMetadataUrl, scope })
  const answer = (await arrived).searchParams
  if (answer.get('error')) throw { error: answer.get('error') }
  await auth(provider, { serverUrl: api, resourceMetadataUrl, scope, authorizationCode: answer.get('code'), iss: answer.get('iss') ?? undefined, callbackParams: answer })
  return kept.tokens.access_token
})
