// npm @azure/msal-node, Microsoft's own. It speaks https alone, so its requests
// are carried to the test's server by hand.
import { PublicClientApplication } from '@azure/msal-node'
import { clientID, run, show } from './device.mjs'

await run(async (issuer) => {
  const carry = async (url, init) => {
    const response = await fetch(url.replace('https:', 'http:'), init)
    return { status: response.status, headers: Object.fromEntries(response.headers), body: await response.json() }
  }
  const networkClient = {
    sendGetRequestAsync: (url, options) => carry(url, { headers: options?.headers }),
    sendPostRequestAsync: (url, options) => carry(url, { method: 'POST', headers: options?.headers, body: options?.body }),
  }
  const app = new PublicClientApplication({
    auth: { clientId: clientID, authority: `https://${issuer.host}/organizations`, knownAuthorities: [issuer.host] },
    system: { networkClient },
  })
  const deviceCodeCallback = ({ userCode, verificationUri }) =>
    show({ user_code: userCode, verification_uri_complete: `${verificationUri}?user_code=${userCode}` })
  const { accessToken } = await app.acquireTokenByDeviceCode({ scopes: ['products:read'], deviceCodeCallback })
  return accessToken
})
