import t from "tap";
import { type ContainerOnWire, pickByName } from "../../../cli/server/server-client.ts";

const OWN = "3f1c9a52-7b0e-4d16-9a41-0123456789ab";
const OTHER = "6b1c3f0e-7b0e-4d16-9a41-0123456789ab";
const container = (id: string, name: string): ContainerOnWire => ({ id, name, status: "started" });

t.test("an id, or its beginning, is never taken for the name of another container", (t) => {
  const own = container(OWN, "chem-app");
  for (const name of [OWN, OWN.toUpperCase(), OWN.slice(0, 8), OWN.slice(0, 13)]) {
    const all = [container(OTHER, name), own];
    t.equal(pickByName("containers", all, OWN), own, name);
    if (name.length < OWN.length) t.throws(() => pickByName("containers", all, name), { code: "SETTINGS_INVALID" }, name);
  }
  t.end();
});

t.test("an exact name comes before the names that begin with it", (t) => {
  const own = container(OWN, "chem");
  t.equal(pickByName("containers", [container(OTHER, "chem-app"), own], "chem"), own);
  t.throws(() => pickByName("containers", [container(OTHER, "chem-app"), own], "che"), { code: "SETTINGS_INVALID" });
  t.end();
});
