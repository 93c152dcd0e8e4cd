import { unscoped } from "../../model/names.ts";

/** Entities and packages are found however their name is spelled: `sequence-translator` is `SequenceTranslator`. */
export function nameKey(name: string): string {
  return name.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "");
}

/** Whether someone who says `said` means the package: its name, with or without the scope, in any spelling. */
export function isPackageName(packageName: string, said: string): boolean {
  return packageName.toLowerCase() === said.toLowerCase() || nameKey(unscoped(packageName)) === nameKey(said);
}
