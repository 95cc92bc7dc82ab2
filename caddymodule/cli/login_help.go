package cli

// loginHelp is the help of device-login. Its examples are run by a test of the
// documentation.
const loginHelp = `
Signs in from a terminal: finds the authorization server from the API's own URL,
has a person sign in and answer, and prints the result to standard output:

	curl -H "$(caddy device-login https://api.example.com/)" https://api.example.com/products

The token is kept in the user's configuration directory. The next call prints
it while it is good for at least a minute, refreshes it after that, and asks a
person only when the server refuses the refresh. --new asks anyway and replaces
what is kept; --no-keep neither reads nor writes it. --non-interactive asks
nobody, for scripts. --valid-for says how long it must be good, for what takes
longer than a minute.

Where this computer has a browser (a display and no SSH session, or BROWSER) and
the client has the redirect URI http://127.0.0.1/callback at the server, the
browser opens and the person answers there. Else the person is shown an address,
a code and a QR code, on standard error, for a browser anywhere. --browser and
--device choose by hand; --open shows a code and opens its address here.

A token is kept for the API that it was asked for. With --issuer it is kept for
all APIs that name this issuer, which you trust with that:

	caddy device-login --issuer https://connect.example.com https://api.example.com/

The person who is asked sees the host name of this computer, as what it calls
itself; --device-name says something else, or with "" nothing.

	caddy device-login logout https://api.example.com/

revokes the token and deletes it. --client, --scope and --audience say which
one, where there are several.

The output is one of these:

	-o header   an Authorization header, the default:
	            curl -H "$(caddy device-login $URL)" $URL
	-o token    the access token alone:
	            export API_TOKEN=$(caddy device-login -o token $URL)
	-o json     the token response, with the seconds that are left:
	            caddy device-login -o json $URL | jq .expires_in
	-o curl     a line of a curl configuration. Other users of the machine can
	            see arguments, but not this:
	            caddy device-login -o curl $URL | curl -K - $URL

It exits with 0 when it was allowed, 1 when something went wrong, 3 when the
person denied, 4 when nobody answered in time, 5 when a person has to be asked
and --non-interactive is there, and 130 when it was interrupted:

	caddy device-login $URL >header || case $? in 3) echo no;; 4) echo late;; esac

A logout exits with 0 also when nobody was logged in, and with 1 when the
server could not be reached; the token is kept then.`
