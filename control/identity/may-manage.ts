import type { Store } from "../store/open-store.ts";

type Person = { userId: string; admin: boolean };

/** Whether someone may publish over, start, stop and look into what this author published: the author, who shares a group with the author, and admins. */
export function mayManageOf(store: Pick<Store, "groups">, person: Person, authorId: string): boolean {
  return person.admin || person.userId === authorId || store.groups.shared(person.userId, authorId);
}
