import { join } from "node:path";
import type { ImageSource } from "../../drivers/driver.ts";
import type { Image } from "../model/entities.ts";
import type { Rooms } from "./rooms.ts";

/** What a driver is given to find an image by. */
export function imageSource({ filesFolder }: Pick<Rooms, "filesFolder">, { ref, files }: Image): ImageSource {
  return { ref, ...(files === "" ? {} : { folder: join(filesFolder, files) }) };
}
