import t from "tap";
import { READ_MODES } from "../../gateway/connections/open-connections.ts";
import { testEngine } from "./test-engine.ts";

for (const reads of READ_MODES) {
  t.test(`the engine on sockets passes every row but those that it declares, reading by ${reads}`, (t) =>
    testEngine(t, { forwarder: "splice", reads }),
  );
}
