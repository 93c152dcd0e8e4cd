import { useEffect, useState } from "preact/hooks";
import { probeServer, SLOW_REQUEST, SLOW_REQUEST_ENDED } from "./api-client.ts";

const PROBE_MS = 3_000;

/**
 * Says that the browser is offline, or that the network or the server is slow. The response to a request that began since then shows that it is not
 * offline, whatever the browser reports: on a machine without a network, a server of the same machine is reached all the same.
 */
export function ConnectionBanner() {
  const [isOffline, setOffline] = useState(false);
  const [slow, setSlow] = useState(0);
  useEffect(() => {
    const listeners: Readonly<Record<string, () => void>> = {
      online: () => setOffline(false),
      offline: () => setOffline(true),
      [SLOW_REQUEST]: () => setSlow((count) => count + 1),
      [SLOW_REQUEST_ENDED]: () => setSlow((count) => count - 1),
    };
    for (const [name, listener] of Object.entries(listeners)) addEventListener(name, listener);
    return () => {
      for (const [name, listener] of Object.entries(listeners)) removeEventListener(name, listener);
    };
  }, []);
  useEffect(() => {
    if (!isOffline) return undefined;
    let isCurrent = true;
    const probe = () =>
      probeServer().then(
        () => isCurrent && setOffline(false),
        () => undefined,
      );
    const timer = setInterval(() => void probe(), PROBE_MS);
    return () => {
      isCurrent = false;
      clearInterval(timer);
    };
  }, [isOffline]);
  if (!isOffline && slow === 0) return null;
  return (
    <p class={`banner ${isOffline ? "broken" : "slow"}`} role="status">
      {isOffline ? "You are offline. The page shows the last known state." : "Slow connection: waiting for a response…"}
    </p>
  );
}
