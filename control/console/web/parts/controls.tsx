import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";

/** A button that does something at the server: busy while it does, and with the reason beside it where it was refused. */
export function Action({ act, children, confirm, primary }: Props) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string>();
  const click = () => {
    if (confirm !== undefined && !globalThis.confirm(confirm)) return;
    setBusy(true);
    setError(undefined);
    act()
      .catch((reason: unknown) => setError((reason as Error).message))
      .finally(() => setBusy(false));
  };
  return (
    <>
      <button type="button" class={primary ? "primary" : undefined} disabled={busy} aria-busy={busy} onClick={click}>
        {children}
      </button>
      {error === undefined ? null : (
        <span class="failure" role="alert">
          {error}
        </span>
      )}
    </>
  );
}

type Props = { act(): Promise<unknown>; children: ComponentChildren; confirm?: string; primary?: boolean };
