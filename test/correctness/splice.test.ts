import t from "tap";
import { SOCKET_KINDS } from "../fixtures/connections.ts";
import { testEngine } from "./test-engine.ts";

for (const sockets of SOCKET_KINDS) {
  t.test(`the engine on sockets passes every row but those that it declares, on sockets of ${sockets}`, (t) =>
    testEngine(t, { forwarder: "splice", sockets }),
  );
}
