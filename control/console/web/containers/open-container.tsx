import { useEffect, useState } from "preact/hooks";
import { linkTo } from "../location.ts";
import { Action } from "../parts/controls.tsx";
import { Failure, Loading } from "../parts/display.tsx";
import { openAtEdge } from "./container-actions.tsx";

/** A browser that does not keep the edge's cookie comes back at once: it is not sent there again by itself. */
const AGAIN_MS = 15_000;

/** Where the edge sends a signed-out user who opened a container's address: opens it, now that the user is signed in. */
export function OpenContainer({ id }: { id: string }) {
  const [error, setError] = useState<Error>();
  const [isStopped, setStopped] = useState(false);
  useEffect(() => {
    const name = `opened ${id}`;
    const last = Number(sessionStorage.getItem(name) ?? 0);
    sessionStorage.setItem(name, String(Date.now()));
    if (Date.now() - last < AGAIN_MS) setStopped(true);
    else openAtEdge(id, "_self").catch(setError);
  }, [id]);
  if (error === undefined && !isStopped) return <Loading />;
  return (
    <>
      <h1>Open the container</h1>
      <Failure error={error} />
      {isStopped ? <p>The browser did not keep the session. Allow cookies for the address of the containers, then try again.</p> : null}
      <div class="tools">
        <Action kind="primary" act={() => openAtEdge(id, "_self")}>
          Open
        </Action>
        <a href={linkTo("containers", id)}>Show its status</a>
      </div>
    </>
  );
}
