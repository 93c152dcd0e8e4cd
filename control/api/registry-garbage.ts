import { Type } from "typebox";
import { Fault } from "../../lib/fault.ts";
import type { RegistryGarbageDeps } from "./api-deps.ts";
import { route, type Route } from "./route.ts";
import { GARBAGE, type GarbageJson } from "./schemas.ts";

/** Garbage collection of berth's own registry, for administrators; `berth registry gc` does the same at a command line. */
export function registryGarbageRoutes({ garbage }: { garbage?: RegistryGarbageDeps | undefined }): Route[] {
  const tags = ["registry"];
  const own = () => {
    if (!garbage)
      throw new Fault("REGISTRY_NOT_FOUND", "berth runs no registry of its own: set BERTH_REGISTRY=embedded, or collect garbage at your registry.");
    return garbage;
  };
  const present = (report: GarbageJson | undefined): GarbageJson => {
    if (report) return report;
    throw new Fault("REGISTRY_NOT_FOUND", "berth's own registry does not run on the machine of this control process.");
  };

  return [
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
