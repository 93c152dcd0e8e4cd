import { Fragment } from "preact";
import { useEffect, useState } from "preact/hooks";
import icon from "./icon.svg";
import { type RequestError, send, type SignInProvider } from "./api-client.ts";

/** `hasOwnUsers`: berth has users of its own, and created the first one. */
type SignInProps = { hasOwnUsers: boolean; providers: readonly SignInProvider[]; onSignedIn(): void };

/** Other tabs of the console share the cookie, so each sign-in and sign-out is reported to them. A tab gets no message of its own. */
const otherTabs = new BroadcastChannel("berth-session");

function notifyOtherTabs(): void {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a channel is of one origin
  otherTabs.postMessage("changed");
}

/** Calls `onChange` after a sign-in or a sign-out in another tab. Returns how to stop that. */
export function watchOtherTabs(onChange: () => void): () => void {
  otherTabs.addEventListener("message", onChange);
  return () => otherTabs.removeEventListener("message", onChange);
}

/** Instead of the id of a provider, which is not empty. */
const BY_KEY = "";

export function SignIn(props: SignInProps) {
  return (
    <SignInPage>
      <SignInForm {...props} />
    </SignInPage>
  );
}

function SignInPage({ children }: { children: preact.ComponentChildren }) {
  return (
    <main class="sign-in">
      <h1>
        <img src={icon} alt="" width="32" height="32" /> berth
      </h1>
      {children}
    </main>
  );
}

export function SignInForm({ hasOwnUsers, providers, onSignedIn }: SignInProps) {
  const [key, setKey] = useState("");
  const [failure, setFailure] = useState<{ way: string; message: string }>();
  const [busy, setBusy] = useState<string>();

  const start = (way: string, work: () => Promise<unknown>) => {
    setBusy(way);
    setFailure(undefined);
    work()
      .catch((reason: unknown) => setFailure({ way, message: messageOf(reason as RequestError) }))
      .finally(() => setBusy(undefined));
  };
  /** Beside the button that it is about. */
  const failureOf = (way: string) =>
    failure?.way === way ? (
      <p class="failure" role="alert">
        {failure.message}
      </p>
    ) : null;
  const submit = (event: Event) => {
    event.preventDefault();
    start(BY_KEY, async () => {
      await send("/console/sign-in", { method: "POST", headers: { authorization: `Dev ${key.trim()}` } });
      notifyOtherTabs();
      onSignedIn();
    });
  };
  return (
    <>
      {providers.length === 0 ? null : (
        <div class="sign-in-provider">
          {providers.map(({ id, name }) => (
            <Fragment key={id}>
              <button type="button" class="primary" disabled={busy !== undefined} onClick={() => start(id, () => goToProvider(id))}>
                {busy === id ? "Signing in…" : `Sign in with ${name}`}
              </button>
              {failureOf(id)}
            </Fragment>
          ))}
          <p class="quiet">or with a developer key:</p>
        </div>
      )}
      <form class="sign-in-form" onSubmit={submit}>
        <label for="key">Developer key</label>
        <input
          id="key"
          type="password"
          autocomplete="current-password"
          required
          value={key}
          onInput={(event) => setKey(event.currentTarget.value)}
          aria-describedby="hint"
          // oxlint-disable-next-line jsx-a11y/no-autofocus
          autofocus={providers.length === 0}
        />
        <p id="hint" class="quiet">
          {hasOwnUsers ? (
            <>
              Enter the key that <code>grok publish</code> uses. The first user's key is in <code>admin.key</code> in berth's data folder.
            </>
          ) : (
            <>
              Enter the key of your Datagrok server that <code>grok publish</code> and <code>docker login</code> use.
            </>
          )}
        </p>
        {failureOf(BY_KEY)}
        <button type="submit" class={providers.length === 0 ? "primary" : ""} disabled={busy !== undefined || key.trim() === ""}>
          {busy === BY_KEY ? "Signing in…" : "Sign in"}
        </button>
      </form>
    </>
  );
}

function messageOf({ status, message, path }: RequestError): string {
  return status === 401 && path === "/console/sign-in" ? "Unknown key. Ask your administrator." : message;
}

/** The address that the first provider sends the browser back to; those of further ones are below it. */
const RETURN_PATH = "/console/signed-in";
/** In the storage of this tab: what finishes the sign-in that it began, and the page to open then. */
const BEGUN = "begun sign-in";

type BegunSignIn = { state: string; sealed: string; page: string };

export function isBackFromProvider(): boolean {
  return location.pathname === RETURN_PATH || location.pathname.startsWith(`${RETURN_PATH}/`);
}

async function goToProvider(id: string): Promise<void> {
  const answer = await send(`/console/sign-in/begin?provider=${encodeURIComponent(id)}`, { method: "POST" });
  const { url, state, sealed } = (await answer.json()) as { url: string; state: string; sealed: string };
  const begun: BegunSignIn = { state, sealed, page: isBackFromProvider() ? "" : location.hash };
  sessionStorage.setItem(BEGUN, JSON.stringify(begun));
  location.assign(url);
}

/** In the storage of this tab: the sign-out at a provider that it began. */
const LEFT = "begun sign-out";

type BegunSignOut = { name: string; url: string; state: string };

/** Ends the session, and then the one at the provider at which it began, if that has a page for it. */
export async function signOutAnywhere(): Promise<void> {
  const answer = await send("/console/sign-out", { method: "POST" });
  notifyOtherTabs();
  const { atProvider } = (await answer.json()) as { atProvider?: BegunSignOut };
  if (atProvider === undefined) return;
  const { name, url, state } = atProvider;
  sessionStorage.setItem(LEFT, JSON.stringify({ name, state }));
  location.assign(url);
}

/** What the page says when a provider sent the browser back after a sign-out; undefined: it is back from a sign-in. */
function signedOutText(): string | undefined {
  const query = new URLSearchParams(location.search);
  if (query.has("code") || query.has("error")) return undefined;
  const stored = sessionStorage.getItem(LEFT);
  sessionStorage.removeItem(LEFT);
  const left = stored === null ? undefined : (JSON.parse(stored) as Pick<BegunSignOut, "name" | "state">);
  history.replaceState(null, "", location.pathname);
  // A link from elsewhere says nothing about a sign-out.
  return left === undefined || left.state !== query.get("state") ? "" : `You are signed out of berth and of ${left.name}.`;
}

/** Finishes the sign-in that this tab began. Any other is refused: its link may come from another user, who would then be signed in here. */
async function finishSignIn(): Promise<string> {
  const stored = sessionStorage.getItem(BEGUN);
  sessionStorage.removeItem(BEGUN);
  const begun = stored === null ? undefined : (JSON.parse(stored) as BegunSignIn);
  const { pathname: path, search } = location;
  // Its code is for one use; it stays neither in the address nor in the history.
  history.replaceState(null, "", RETURN_PATH);
  if (begun === undefined || begun.state !== new URLSearchParams(search).get("state"))
    throw new Error("This sign-in was not begun in this browser tab. Sign in again.");
  await send("/console/sign-in/finish", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ sealed: begun.sealed, path, search }),
  });
  notifyOtherTabs();
  return begun.page;
}

/** The page to which the provider sends the browser back. */
export function FinishSignIn(props: Omit<SignInProps, "onSignedIn">) {
  const [error, setError] = useState<string>();
  const [signedOut] = useState(signedOutText);
  const open = (page: string) => location.replace(`/${page}`);
  useEffect(() => {
    if (signedOut === undefined) void finishSignIn().then(open, (reason: unknown) => setError((reason as Error).message));
  }, []);
  if (signedOut !== undefined)
    return (
      <SignInPage>
        {signedOut === "" ? null : <p role="status">{signedOut}</p>}
        <SignInForm {...props} onSignedIn={() => open("")} />
      </SignInPage>
    );
  return (
    <SignInPage>
      {error === undefined ? (
        <p class="quiet">Signing in…</p>
      ) : (
        <>
          <p class="failure" role="alert">
            {error}
          </p>
          <SignInForm {...props} onSignedIn={() => open("")} />
        </>
      )}
    </SignInPage>
  );
}
