import { relative } from "node:path";
import { type Driver, wrapDriver } from "../../drivers/driver.ts";
import type { Store } from "../store/open-store.ts";

/** For a driver that runs published files: another process of a shared store may have written them on its machine. `folder`: the data folder. */
export function withPublishedFiles(driver: Driver, { publishedFiles }: Pick<Store, "publishedFiles">, folder: string): Driver {
  const fetched = async (path: string | undefined) => {
    if (path !== undefined) await publishedFiles.fetch(relative(folder, path));
  };
  return wrapDriver(driver, {
    resolve: async (source, call) => {
      await fetched(source.folder);
      return driver.resolve(source, call);
    },
    deploy: async (spec, call) => {
      await fetched(spec.folder);
      return driver.deploy(spec, call);
    },
  });
}
