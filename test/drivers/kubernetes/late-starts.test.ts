import t from "tap";
import { checkLateStart } from "../late-starts.ts";
import { openWorld } from "./test-cluster.ts";

t.test("a container that a deposed leader's call starts late on Kubernetes is recognized by its epoch, and removed", async (t) => {
  const { open, image, cluster } = await openWorld(t);
  const { ref } = await image("onDemand");
  const id = await checkLateStart(t, { open, ref, environment: "late" });
  t.same(
    cluster.objects.all("deployments").filter(({ metadata }) => metadata.labels?.["berth.container"] === id),
    [],
    "nothing of it is left",
  );
});
