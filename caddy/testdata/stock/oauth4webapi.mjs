// npm oauth4webapi 3: the same by hand, with its strict look at every answer.
import * as oauth from 'oauth4webapi'
import { clientID, run, scope, show } from './device.mjs'

const options = { [oauth.allowInsecureRequests]: true }
const client = { client_id: clientID }

await run(async (issuer) => {
  const server = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...options }))
  const asked = await oauth.deviceAuthorizationRequest(server, client, oauth.None(), { scope }, options)
  const prompt = await oauth.processDeviceAuthorizationResponse(server, client, asked)
  show(prompt)
  for (let interval = prompt.interval; ; ) {
    await new Promise((wake) => setTimeout(wake, interval * 1000))
    const response = await oauth.deviceCodeGrantRequest(server, client, oauth.None(), prompt.device_code, options)
    try {
      const tokens = await oauth.processDeviceCodeResponse(server, client, response)
      await oauth.validateApplicationLevelSignature(server, response, options)
      return tokens.access_token
    } catch (error) {
      if (error.error === 'slow_down') interval += 5
      else if (error.error !== 'authorization_pending') throw error
    }
  }
})
