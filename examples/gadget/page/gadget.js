// What a device does (RFC 8628 §3): ask for a code, show it, poll, use the token.
const { clientId, scope, api } = document.body.dataset;
const grantType = "urn:ietf:params:oauth:grant-type:device_code";
const $ = (id) => document.getElementById(id);
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const show = (state) => { document.body.dataset.state = state; };

const post = async (path, form) => {
  const response = await fetch(path, { method: "POST", body: new URLSearchParams({ client_id: clientId, ...form }) });
  const text = await response.text();
  return { ok: response.ok, status: response.status, ...(text ? JSON.parse(text) : {}) };
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
  $("open").href = grant.verification_uri_complete;
  $("qr").src = "qr.svg?text=" + encodeURIComponent(grant.verification_uri_complete);
  show("waiting");
}

// poll waits for the person's answer: the interval counts from the end of one
// answer, slow_down makes it longer for good, and a network that is away is
// asked again later.
async function poll(grant) {
  const end = Date.now() + grant.expires_in * 1000;
  const ticking = setInterval(() => showLeft(end), 1000);
  showLeft(end);
  try {
    for (let interval = grant.interval ?? 5, pause = interval; ; ) {
      await sleep(pause * 1000);
      let answer;
      try {
        answer = await post("/oauth2/token", { grant_type: grantType, device_code: grant.device_code });
      } catch {
        pause = Math.min(pause * 2, 60);
        if (Date.now() > end) return void show("expired");
        continue;
      }
      if (answer.ok) return answer;
      switch (answer.error) {
        case "slow_down":
          interval = answer.interval ?? interval + 5;
        case "authorization_pending":
        case "temporarily_unavailable":
          pause = interval;
          break;
        case "access_denied":
          return void show("denied");
        case "expired_token":
          return void show("expired");
        default:
          return void fail(answer.error_description ?? "The gateway refused the code.");
      }
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
  const person = tokens.id_token ? claims(tokens.id_token) : {};
  $("person").textContent = person.name ?? person.email ?? "stranger";
  $("picture").hidden = !person.picture;
  if (person.picture) $("picture").src = person.picture;
  const response = await fetch(api, { headers: { Authorization: "Bearer " + tokens.access_token } }).catch(() => null);
  if (!response?.ok) return fail("The API does not answer.");
  const answer = await response.json();
  $("products").replaceChildren(...(answer.products ?? []).map((p) => row("li", p.name, p.price)));
  $("seen").tBodies[0].replaceChildren(...Object.entries(answer.seen_by ?? {}).map(([name, value]) => row("tr", name, value)));
  show("signed-in");
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
  await post("/oauth2/revoke", { token: tokens.refresh_token ?? tokens.access_token }).catch(() => {});
  tokens = undefined;
  await start();
});
await start();
