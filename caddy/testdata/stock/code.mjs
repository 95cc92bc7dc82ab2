// What the scripts for logins in the browser have in common: a listener on this computer,
// as each of these programs has one, and how they tell the test what a browser is to open.
import { createServer } from 'node:http'
import { say } from './device.mjs'

// listen waits for the browser at a port of its own, and resolves to the address that came.
export async function listen(path = '/callback') {
  let arrive
  const arrived = new Promise((resolve) => { arrive = resolve })
  const server = createServer((request, response) => {
    const url = new URL(request.url, `http://127.0.0.1:${server.address().port}`)
    response.setHeader('Connection', 'close').end('<h1>You can close this page</h1>')
    if (url.pathname === path) {
      arrive(url)
      server.close()
    }
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  return { redirect: `http://127.0.0.1:${server.address().port}${path}`, arrived }
}

export const open = (url) => say({ open: String(url) })
