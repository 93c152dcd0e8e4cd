/** In the order in which they were opened. Linked through its members: a `Set` would cost every request a sixth of its decision. */
export type OpenList<Member extends Linked<Member>> = { oldest: Member | undefined; newest: Member | undefined; size: number };

/** Undefined at either end of its list. */
export type Linked<Member> = { before: Member | undefined; after: Member | undefined };

export function addTo<Member extends Linked<Member>>(list: OpenList<Member>, member: Member): void {
  member.before = list.newest;
  if (list.newest === undefined) list.oldest = member;
  else list.newest.after = member;
  list.newest = member;
  list.size++;
}

/** Of one that is in it. */
export function removeFrom<Member extends Linked<Member>>(list: OpenList<Member>, member: Member): void {
  const { before, after } = member;
  if (before === undefined) list.oldest = after;
  else before.after = after;
  if (after === undefined) list.newest = before;
  else after.before = before;
  member.before = undefined;
  member.after = undefined;
  list.size--;
}

/** The oldest `most` of them. */
export function oldestOf<Member extends Linked<Member>>({ oldest }: OpenList<Member>, most: number): Member[] {
  const found: Member[] = [];
  for (let member = oldest; member !== undefined && found.length < most; member = member.after) found.push(member);
  return found;
}
