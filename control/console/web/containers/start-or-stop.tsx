import { useRef, useState } from "preact/hooks";
import type { Container } from "../entities.ts";
import { Action } from "../parts/controls.tsx";
import { fittingAction, requestAction } from "./container-actions.tsx";

const VERBS = { start: "Start", stop: "Stop" } as const;

/** The one button that fits the status of a container; none while it stops. It does not become another one under the pointer. */
export function StartOrStop({ container: { id, name, status }, onDone }: { container: Pick<Container, "id" | "name" | "status">; onDone(): void }) {
  const [isHovered, setHovered] = useState(false);
  const fitting = fittingAction(status);
  const shown = useRef(fitting);
  if (!isHovered) shown.current = fitting;
  const action = shown.current;
  if (action === undefined) return null;
  return (
    <span onPointerEnter={() => setHovered(true)} onPointerLeave={() => setHovered(false)}>
      <Action act={() => requestAction(id, action).then(onDone)} disabled={action !== fitting}>
        {VERBS[action]}
        <span class="unseen"> {name}</span>
      </Action>
    </span>
  );
}
