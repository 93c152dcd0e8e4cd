import { useEffect, useState } from "preact/hooks";
import { REQUEST_ENDED, SLOW_REQUEST } from "./api-client.ts";

/** Says that the browser is offline, or that the network or the server is slow. */
export function ConnectionBanner() {
  const [isOffline, setOffline] = useState(!navigator.onLine);
  const [isSlow, setSlow] = useState(false);
  useEffect(() => {
    const listeners: Readonly<Record<string, () => void>> = {
      online: () => setOffline(false),
      offline: () => setOffline(true),
      [SLOW_REQUEST]: () => setSlow(true),
      [REQUEST_ENDED]: () => setSlow(false),
    };
    for (const [name, listener] of Object.entries(listeners)) addEventListener(name, listener);
    return () => {
      for (const [name, listener] of Object.entries(listeners)) removeEventListener(name, listener);
    };
  }, []);
  if (!isOffline && !isSlow) return null;
  return (
    <p class={`banner ${isOffline ? "broken" : "slow"}`} role="status">
      {isOffline ? "You are offline. The page shows the last known state." : "Slow connection: waiting for a response…"}
    </p>
  );
}
