/** The tabs of a page; each is a link, so that the address keeps the tab. */
export function TabBar({ label, tabs, current }: { label: string; tabs: readonly { name: string; title: string; href: string }[]; current: string }) {
  return (
    <nav class="tabs" aria-label={label}>
      {tabs.map(({ name, title, href }) => (
        <a key={name} href={href} aria-current={name === current ? "page" : undefined}>
          {title}
        </a>
      ))}
    </nav>
  );
}
