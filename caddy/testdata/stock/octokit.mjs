// npm @octokit/auth-oauth-device, which believes that it talks to GitHub.
import { createOAuthDeviceAuth } from '@octokit/auth-oauth-device'
import { request } from '@octokit/request'
import { clientID, run, scope, show } from './device.mjs'

await run(async (issuer) => {
  const auth = createOAuthDeviceAuth({
    clientType: 'oauth-app',
    clientId: clientID,
    scopes: scope.split(' '),
    request: request.defaults({ baseUrl: issuer.origin + '/api/v3' }),
    onVerification: (prompt) => show({ verification_uri_complete: prompt.verification_uri + '?user_code=' + prompt.user_code, ...prompt }),
  })
  const { token } = await auth({ type: 'oauth' })
  return token
})
