import t from "tap";
import { openConsoleListener } from "../../../control/console/console-routes.ts";
import { CLIENT_ADDRESS_HEADER, CONSOLE_HEADER, GATEWAY_TOKEN_HEADER, UNTRUSTED_PROXY_HEADER } from "../../../gateway/contract.ts";
import { systemClock } from "../../../lib/clock.ts";
import { openLog } from "../../../lib/log.ts";
import { openListeningHandle } from "../../../processes/listeners.ts";

t.test("a client of the console's listener cannot set what only gateways tell the API", async (t) => {
  const clock = systemClock();
  const { handle, port } = await openListeningHandle({ host: "127.0.0.1", port: 0 }, clock);
  const listener = await openConsoleListener({
    handle,
    tls: undefined,
    answer: ({ headers }, response) => response.end(JSON.stringify(headers)),
    addressOf: () => "198.51.100.7",
    trusts: () => false,
    clock,
    log: openLog({ level: "silent", name: "test" }),
  });
  t.teardown(() => listener.close());
  const names = [CLIENT_ADDRESS_HEADER, CONSOLE_HEADER, GATEWAY_TOKEN_HEADER, UNTRUSTED_PROXY_HEADER];
  const answer = await fetch(`http://127.0.0.1:${port}/`, { headers: Object.fromEntries(names.map((name) => [name, "forged"])) });
  const received = (await answer.json()) as Record<string, string>;
  t.strictSame(
    names.map((name) => received[name]),
    ["198.51.100.7", "1", undefined, undefined],
  );
});
