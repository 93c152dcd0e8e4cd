import t from "tap";
import { testEngine } from "./test-engine.ts";

t.test("the engine on sockets passes every row but those that it declares", (t) => testEngine(t, "splice"));
