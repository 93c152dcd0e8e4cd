import t from "tap";
import { checkLateStart } from "../late-starts.ts";
import { openStand } from "./fixture.ts";

t.test("a container that a deposed leader's call starts late on ECS is recognized by its epoch, and removed", async (t) => {
  const stand = await openStand(t, ["onDemand"]);
  await checkLateStart(t, { open: () => stand.open(), ref: "berth-test/ondemand:1", environment: "late" });
});
