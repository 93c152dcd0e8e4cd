import { useEffect, useRef } from "preact/hooks";

type TabBarProps = {
  label: string;
  tabs: readonly { name: string; title: string; href: string }[];
  /** The name of one of them. */
  current: string;
};

/** The tabs of a page; each is a link, so that the address keeps the tab. A narrow window shows a part of them: the current one is brought into view. */
export function TabBar({ label, tabs, current }: TabBarProps) {
  const bar = useRef<HTMLElement>(null);
  useEffect(() => {
    const link = bar.current?.querySelector<HTMLElement>("[aria-current]");
    // Not scrollIntoView: it would scroll the page, too.
    if (bar.current && link) bar.current.scrollLeft = link.offsetLeft - bar.current.offsetLeft - (bar.current.clientWidth - link.offsetWidth) / 2;
  }, [current]);
  return (
    <nav class="tabs" aria-label={label} ref={bar}>
      {tabs.map(({ name, title, href }) => (
        <a key={name} href={href} aria-current={name === current ? "page" : undefined}>
          {title}
        </a>
      ))}
    </nav>
  );
}
