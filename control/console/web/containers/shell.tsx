import { useEffect, useRef, useState } from "preact/hooks";
import { LONGEST_SHELL_MESSAGE, SHELL_STREAMS, type ShellReport, type ShellRequest } from "../../../api/shell-protocol.ts";
import { request } from "../api-client.ts";
import type { Container } from "../entities.ts";
import { Section } from "../parts/display.tsx";
import { replicaOf, ReplicaPicker } from "./replica-picker.tsx";
import type { DrawnTerminal } from "../shell/draw-terminal.ts";

type ShellAccess = { isAvailable: boolean; reason: string | null };

/** Whether this user may open a shell in the container; false until that is known. `version`: it is requested again when this changes. */
export function useShellAccess(id: string, isManager: boolean, version: string): boolean {
  const [isAvailable, setIsAvailable] = useState(false);
  useEffect(() => {
    if (!isManager) return setIsAvailable(false);
    const gone = new AbortController();
    request<ShellAccess>(`/docker/containers/${id}/exec`, { signal: gone.signal }).then(
      (access) => setIsAvailable(access.isAvailable),
      // Without an answer the tab stays as it was.
      () => undefined,
    );
    return () => gone.abort();
  }, [id, isManager, version]);
  return isAvailable;
}

type ShellState = { kind: "closed"; message: string | undefined; isFailure: boolean } | { kind: "opening" } | { kind: "open" };

const CLOSED: ShellState = { kind: "closed", message: undefined, isFailure: false };
const BROKEN = "The connection was lost. What ran in the shell has been ended.";

/** A terminal with a shell in the container. It is opened by a button: each shell is in the audit log. */
export function Shell({ container: { id, name, status, replicas } }: { container: Container }) {
  const [chosen, setChosen] = useState(1);
  const [state, setState] = useState<ShellState>(CLOSED);
  const [turn, setTurn] = useState(0);
  const place = useRef<HTMLDivElement>(null);
  const { replica, status: replicaStatus = status } = replicaOf(replicas, chosen);
  const runs = replicaStatus === "started" || replicaStatus === "checking";

  useEffect(() => {
    if (turn === 0 || !place.current) return undefined;
    const shell = openShell(id, replica, place.current, setState);
    return () => shell.close();
    // The replica is chosen before each shell is opened.
  }, [id, turn]);

  const openAgain = () => {
    setState({ kind: "opening" });
    setTurn((last) => last + 1);
  };
  const isFirst = turn === 0;
  return (
    <Section title="Shell">
      {state.kind === "closed" ? (
        <div class="tools">
          {state.message === undefined ? null : (
            <p class={state.isFailure ? "failure" : "shell-ended"} role={state.isFailure ? "alert" : "status"}>
              {state.message}
            </p>
          )}
          <ReplicaPicker replicas={replicas} value={replica} onChange={setChosen} />
          <button type="button" class="primary" onClick={openAgain} disabled={!runs}>
            {isFirst ? "Open a shell" : "Reconnect"}
          </button>
          {runs ? null : <span class="quiet">The container does not run. Start it first.</span>}
        </div>
      ) : null}
      {isFirst ? (
        <p class="quiet">The audit log records that you opened it, and not what you type.</p>
      ) : (
        <div class={`shell-box ${state.kind}`} ref={place} aria-label={`Shell in ${name}`} role="group" />
      )}
      {state.kind === "opening" ? (
        <p class="quiet" role="status">
          Opening a shell in {name}…
        </p>
      ) : null}
    </Section>
  );
}

/** Reports are sent for at least so much, in bytes. */
const SHOWN_STEP = 65_536;

function openShell(id: string, replica: number, place: HTMLElement, report: (state: ShellState) => void): { close(): void } {
  let isGone = false;
  let terminal: DrawnTerminal | undefined;
  let socket: WebSocket | undefined;
  let last: ShellReport | undefined;
  let unreported = 0;
  const send = (message: ShellRequest) => socket?.readyState === WebSocket.OPEN && socket.send(JSON.stringify(message));
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const recolour = () => terminal?.recolour();
  const fail = (message: string) => isGone || report({ kind: "closed", message, isFailure: true });

  const connect = async () => {
    const [{ drawTerminal }] = await Promise.all([import("../shell/draw-terminal.ts"), import("@xterm/xterm/css/xterm.css")]);
    if (isGone) return;
    terminal = drawTerminal(place, {
      onInput: (bytes) => {
        // What is pasted may be longer than one message.
        for (let at = 0; at < bytes.length && socket?.readyState === WebSocket.OPEN; at += LONGEST_SHELL_MESSAGE - 1) {
          const part = bytes.subarray(at, at + LONGEST_SHELL_MESSAGE - 1);
          const message = new Uint8Array(part.length + 1);
          message[0] = SHELL_STREAMS.stdin;
          message.set(part, 1);
          socket.send(message);
        }
      },
      onResize: (resize) => send({ resize }),
    });
    dark.addEventListener("change", recolour);
    const { columns, rows } = terminal.size();
    const query = new URLSearchParams({ tty: "true", shown: "true", replica: String(replica), columns: String(columns), rows: String(rows) });
    const url = new URL(`/api/docker/containers/${id}/exec?${query.toString()}`, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    socket = new WebSocket(url);
    socket.binaryType = "arraybuffer";
    socket.addEventListener("open", () => {
      if (isGone) return;
      report({ kind: "open" });
      terminal?.focus();
    });
    socket.addEventListener("message", ({ data }: MessageEvent<ArrayBuffer | string>) => {
      if (typeof data === "string") return void (last = JSON.parse(data) as ShellReport);
      const bytes = new Uint8Array(data, 1);
      void terminal?.write(bytes).then(() => {
        unreported += bytes.length;
        if (unreported < SHOWN_STEP) return;
        send({ shown: unreported });
        unreported = 0;
      });
    });
    socket.addEventListener("close", () => void ended());
  };
  /** A refusal of the handshake has no reason that a page can read, so it is requested. */
  const ended = async () => {
    if (isGone) return;
    if (last === undefined) {
      const access = await request<ShellAccess>(`/docker/containers/${id}/exec`).catch((error: Error) => ({
        isAvailable: false,
        reason: error.message,
      }));
      return fail(access.reason ?? BROKEN);
    }
    if ("reason" in last) return fail(last.reason);
    const code = last.exitCode;
    report({ kind: "closed", message: code === null ? "The shell has ended." : `The shell has ended with exit code ${code}.`, isFailure: false });
  };
  connect().catch(() => fail("The terminal could not be loaded. Try again."));
  return {
    close: () => {
      isGone = true;
      dark.removeEventListener("change", recolour);
      socket?.close();
      terminal?.close();
    },
  };
}
