import t from "tap";
import { READS } from "../../gateway/connections/open-connections.ts";
import { testEngine } from "./test-engine.ts";

for (const reads of READS) {
  t.test(`the engine on sockets passes every row but those that it declares, reading by ${reads}`, (t) =>
    testEngine(t, { forwarder: "splice", reads }),
  );
}
