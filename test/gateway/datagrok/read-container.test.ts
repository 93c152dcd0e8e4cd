import t from "tap";
import { readContainer } from "../../../gateway/datagrok/read-container.ts";

const ID = "1b9f4f0c-5c8e-4c53-9a52-3f0b8e0f2d11";
const read = (fields: object) => readContainer({ id: ID, name: "square", status: "started", address: "10.0.0.7", port: 8080, ...fields });
const kind = (fields: object) => read(fields).view.availability.kind;

t.test("what a gateway may do follows from the state's word and from whether requests may wake it", async (t) => {
  const rows: [status: string, onDemand: string, other: string][] = [
    ["started", "awake", "awake"],
    ["checking", "awake", "awake"],
    ["pending start", "coming", "coming"],
    ["starting", "coming", "coming"],
    ["pending user stop", "coming", "stopped"],
    ["pending system stop", "coming", "coming"],
    ["stopping", "coming", "stopped"],
    ["stopped by user", "asleep", "stopped"],
    ["stopped by system", "asleep", "asleep"],
    ["stopped", "asleep", "stopped"],
    ["error", "failed", "failed"],
    ["Started", "awake", "awake"],
  ];
  for (const [status, onDemand, other] of rows) {
    t.equal(kind({ status, config: { on_demand: true } }), onDemand, `${status}, on-demand`);
    t.equal(kind({ status, onDemand: true }), onDemand, `${status}, on-demand in the entity's own words`);
    t.equal(kind({ status }), other, status);
  }
  t.match(read({ status: "error", config: { on_demand: true } }).view.availability, { wakeable: true });
  t.match(read({ status: "error" }).view.availability, { wakeable: false });
  t.throws(() => read({ status: "sailing" }), { code: "DATAGROK_BROKE_OFF" });
  for (const value of [undefined, null, [], "x", { id: ID }, { status: "started" }])
    t.throws(() => readContainer(value), { code: "DATAGROK_BROKE_OFF" });
});

t.test("an address may bring its port, and one that hides the machine's own link is refused", async (t) => {
  const rows: [address: unknown, port: unknown, host: string, at: number][] = [
    ["10.0.0.7", 8080, "10.0.0.7", 8080],
    ["10.0.0.7:5353", null, "10.0.0.7", 5353],
    ["10.0.0.7:5353", 8080, "10.0.0.7", 5353],
    ["plugin-square", "8080", "plugin-square", 8080],
    ["fd00::7", 8080, "fd00::7", 8080],
    ["[fd00::7]:5353", null, "fd00::7", 5353],
  ];
  for (const [address, port, host, at] of rows)
    t.same(read({ address, port }).view.availability, { kind: "awake", addresses: [{ host, port: at }] }, String(address));
  for (const address of [null, "", "10.0.0.7:99999"]) t.equal(kind({ address, port: null }), "portless", String(address));
  for (const address of ["169.254.169.254:80", "metadata.google.internal:80", "2852039166:80", "[fe80::1%eth0]:80"])
    t.match(read({ address }).view.availability, { kind: "failed", fault: { code: "ADDRESS_REFUSED" }, wakeable: false }, address);
});
