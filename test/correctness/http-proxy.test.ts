import t from "tap";
import { testEngine } from "./test-engine.ts";

t.test("the engine on Node's HTTP server passes every row but those that it declares", (t) => testEngine(t, { forwarder: "http-proxy" }));
