import { useState } from "preact/hooks";
import icon from "./icon.svg";
import { type RequestError, send } from "./api-client.ts";

/** `hasOwnUsers`: berth has users of its own, and created the first one. */
type SignInProps = { hasOwnUsers: boolean; onSignedIn(): void };

export function SignIn(props: SignInProps) {
  return (
    <main class="sign-in">
      <h1>
        <img src={icon} alt="" width="32" height="32" /> berth
      </h1>
      <SignInForm {...props} />
    </main>
  );
}

export function SignInForm({ hasOwnUsers, onSignedIn }: SignInProps) {
  const [key, setKey] = useState("");
  const [error, setError] = useState<string>();
  const [busy, setBusy] = useState(false);

  const submit = (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setError(undefined);
    send("/console/sign-in", { method: "POST", headers: { authorization: `Dev ${key.trim()}` } })
      .then(onSignedIn, (reason: unknown) => setError(messageOf(reason as RequestError)))
      .finally(() => setBusy(false));
  };
  return (
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
        autofocus
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
      {error === undefined ? null : (
        <p class="failure" role="alert">
          {error}
        </p>
      )}
      <button type="submit" class="primary" disabled={busy || key.trim() === ""}>
        {busy ? "Signing in…" : "Sign in"}
      </button>
    </form>
  );
}

function messageOf({ status, message }: RequestError): string {
  return status === 401 ? "Unknown key. Ask your administrator." : message;
}
