import { Type } from "typebox";
import { Fault } from "../../lib/fault.ts";
import type { ApiDeps } from "./api-deps.ts";
import { route, type Route } from "./route.ts";
import { GARBAGE, type GarbageJson, RETENTION, RETENTION_RUN } from "./schemas.ts";

/** Garbage collection and retention of berth's own registry, for administrators; `berth registry gc` does the same at a command line. */
export function registryGarbageRoutes({ garbage, retention }: Pick<ApiDeps, "garbage" | "retention">): Route[] {
  const tags = ["registry"];
  const own = () => {
    if (!garbage)
      throw new Fault("REGISTRY_NOT_FOUND", "berth runs no registry of its own: set BERTH_REGISTRY=embedded, or collect garbage at your registry.");
    return garbage;
  };
  const present = (report: GarbageJson | undefined): GarbageJson => {
    if (report) return report;
    throw notHere();
  };

  const notHere = () => new Fault("REGISTRY_NOT_FOUND", "berth's own registry does not run on the machine of this control process.");
  const rules = () => {
    if (!retention)
      throw new Fault("REGISTRY_NOT_FOUND", "berth runs no registry of its own, whose images it could remove: set BERTH_REGISTRY=embedded.");
    return retention;
  };

  return [
    route({
      method: "GET",
      path: "/admin/registry/retention",
      authorize: "admin",
      schema: { tags, summary: "Returns the retention rules of berth's own registry, and what the last run removed", response: RETENTION },
      handle: async () => rules().status(),
    }),
    route({
      method: "POST",
      path: "/admin/registry/retention",
      authorize: "admin",
      audit: { action: "imagesRetained", target: ({ body }) => (body.dryRun ? "dry run" : undefined) },
      schema: {
        tags,
        summary: "Removes images by the retention rules, or counts them in a dry run",
        description: "Returns at the end. A garbage collection then frees the disk space.",
        body: Type.Object({ dryRun: Type.Boolean({ description: "only list what would be removed" }) }),
        response: RETENTION_RUN,
      },
      handle: async ({ body: { dryRun } }) => {
        const result = await rules().run({ dryRun });
        if (result === undefined) throw notHere();
        return result;
      },
    }),
    route({
      method: "GET",
      path: "/admin/registry/garbage",
      authorize: "admin",
      schema: { tags, summary: "Returns the garbage collection in progress, and the result of the last one", response: GARBAGE },
      handle: async () => present(await own().status()),
    }),
    route({
      method: "POST",
      path: "/admin/registry/garbage",
      authorize: "admin",
      audit: { action: "garbageCollected", target: ({ body }) => (body.dryRun ? "dry run" : undefined) },
      schema: {
        tags,
        summary: "Starts a garbage collection of berth's own registry, or a dry run of one",
        description: "Returns at once. A collection waits for open pushes to end, and refuses pushes until it ends. A dry run only reads.",
        body: Type.Object({
          dryRun: Type.Boolean({ description: "only count what would be deleted" }),
          alone: Type.Optional(
            Type.Boolean({ default: false, description: "with shared storage: no other machine's registry takes pushes to it meanwhile" }),
          ),
        }),
        response: GARBAGE,
      },
      handle: async ({ body: { dryRun, alone = false } }) => {
        const { isShared, storage } = present(await own().status());
        if (isShared && !dryRun && !alone)
          throw new Fault(
            "REQUEST_INVALID",
            `${storage} may have registries of several machines, and a push to another one would lose layers. Stop the others, then repeat this with alone=true.`,
          );
        return present(await own().start({ dryRun }));
      },
    }),
  ];
}
