// What a device does (RFC 8628 §3): ask for a code, show it, poll, use the token.
const { clientId, scope, api } = document.body.dataset;
const grantType = "urn:ietf:params:oauth:grant-type:device_code";
const $ = (id) => document.getElementById(id);
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const show = (state) => { document.body.dataset.state = state; };

// A poll may be held for some seconds; after half a minute nobody is there.
const patience = 30_000;

const post = async (path, form) => {
  const body = new URLSearchParams({ client_id: clientId, ...form });
  const response = await fetch(path, { method: "POST", body, signal: AbortSignal.timeout(patience) });
  const text = await response.text();
  return { ...(text ? JSON.parse(text) : {}), ok: response.ok, status: response.status };
};

// start runs one device's life, from asking to signed in or refused.
async function start() {
  show("loading");
  let grant;
  try {
    grant = await post("/oauth2/device_authorization", { scope });
  } catch {
    return fail("The gateway cannot be reached.");
  }
  if (!grant.ok) return fail(grant.error_description ?? "The gateway gives no code.");
  showCode(grant);
  const tokens = await poll(grant);
  if (tokens) await signedIn(tokens);
}

function fail(text) {
  $("problem").textContent = text;
  show("error");
}

function showCode(grant) {
  $("user-code").textContent = grant.user_code;
  $("open").textContent = grant.verification_uri.replace(/^https?:\/\//, "");
  const full = grant.verification_uri_complete ?? grant.verification_uri; // the first is optional
  $("open").href = full;
  $("qr").src = "qr.svg?text=" + encodeURIComponent(full);
  show("waiting");
}

// poll waits for the person's answer: the interval counts from the end of one
// answer, slow_down makes it longer for good, and a gateway that is away or in
// trouble is asked again ever later.
async function poll(grant) {
  const end = Date.now() + grant.expires_in * 1000;
  const ticking = setInterval(() => showLeft(end), 1000);
  showLeft(end);
  try {
    for (let interval = grant.interval ?? 5, pause = interval; ; ) {
      await sleep(pause * 1000);
      const late = Date.now() > end; // this poll is the last one
      const answer = await post("/oauth2/token", { grant_type: grantType, device_code: grant.device_code }).catch(() => null);
      if (answer?.ok) return answer;
      if (answer?.error === "access_denied") return void show("denied");
      if (late || answer?.error === "expired_token") return void show("expired");
      if (!answer || answer.status >= 500 || answer.status === 429) {
        pause = Math.min(pause * 2, 60);
        continue;
      }
      if (answer.error === "slow_down") interval = Math.max(interval, answer.interval ?? interval + 5);
      else if (answer.error !== "authorization_pending") return void fail(answer.error_description ?? "The gateway refused the code.");
      pause = interval;
    }
  } finally {
    clearInterval(ticking);
  }
}

function showLeft(end) {
  const seconds = Math.max(0, Math.round((end - Date.now()) / 1000));
  $("left").textContent = `The code is good for ${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

// claims reads the ID token, which came straight from the gateway; a device
// that got it any other way would have to check its signature.
function claims(token) {
  const bytes = Uint8Array.from(atob(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
  return JSON.parse(new TextDecoder().decode(bytes));
}

let tokens;

async function signedIn(given) {
  tokens = given;
  try {
    greet(tokens.id_token ? claims(tokens.id_token) : {});
    const response = await fetch(api, { headers: { Authorization: "Bearer " + tokens.access_token }, signal: AbortSignal.timeout(patience) });
    if (!response.ok) return fail(`The API answers with status ${response.status}.`);
    list(await response.json());
  } catch {
    return fail("The API does not answer.");
  }
  show("signed-in");
}

function greet(person) {
  $("person").textContent = person.name ?? person.email ?? "stranger";
  $("picture").hidden = !person.picture;
  if (person.picture) $("picture").src = person.picture;
}

function list(answer) {
  $("products").replaceChildren(...(answer.products ?? []).map((p) => row("li", p.name, p.price)));
  $("seen").tBodies[0].replaceChildren(...Object.entries(answer.seen_by ?? {}).map(([name, value]) => row("tr", name, value)));
}

function row(kind, ...texts) {
  const line = document.createElement(kind);
  line.append(...texts.map((text, i) => {
    const cell = document.createElement(kind === "li" ? "span" : i === 0 ? "th" : "td");
    cell.textContent = text || "–";
    return cell;
  }));
  return line;
}

$("again").addEventListener("click", start);
$("sign-out").addEventListener("click", async () => {
  show("loading"); // hides the button: one click, one new start
  await post("/oauth2/revoke", { token: tokens.refresh_token ?? tokens.access_token }).catch(() => {});
  tokens = undefined;
  await start();
});
await start();
