// What the scripts of this folder have in common: they tell the test what a
// device would show, and then how it ended, each as one line of JSON.
export const say = (what) => process.stdout.write(JSON.stringify(what) + '\n')

export const show = (prompt) => say({ user_code: prompt.user_code, verification_uri_complete: prompt.verification_uri_complete })

export async function run(login) {
  try {
    say({ access_token: await login(new URL(process.argv[2])) })
  } catch (error) {
    say({ error: [error.error, error.code, error.name, error.message, error.response?.data?.error].filter(Boolean).join(' ') })
  }
}

export const clientID = 'cool-gadget'
export const scope = 'openid profile offline_access products:read'
