// Job: the state of a page in its URL, behind the `#`: what is seen can be shared, and survives a reload.
// Knows: names and texts. Must never know: what they mean.

export class Address {
  /**
   * @param {Object<string, string>} usual what holds where the URL does not say; only these names are read and written.
   */
  constructor(usual) {
    this.usual = usual;
    this.listeners = [];
    this.values = this.read();
    addEventListener('hashchange', () => {
      this.values = this.read();
      this.listeners.forEach((listener) => listener());
    });
  }

  read() {
    const said = new URLSearchParams(location.hash.slice(1));
    return Object.fromEntries(Object.entries(this.usual).map(([name, usual]) => [name, said.get(name) ?? usual]));
  }

  get(name) {
    return this.values[name];
  }

  /** True where the value is one of these; else the usual one holds. */
  oneOf(name, allowed) {
    return allowed.includes(this.values[name]) ? this.values[name] : this.usual[name];
  }

  set(changes) {
    this.values = { ...this.values, ...changes };
    const said = new URLSearchParams();
    for (const [name, value] of Object.entries(this.values)) if (value !== this.usual[name]) said.set(name, value);
    // Replaced, not pushed: going back leaves the page. Slashes of topics stay readable.
    const text = String(said).replaceAll('%2F', '/');
    history.replaceState(null, '', text ? `#${text}` : location.pathname + location.search);
    this.listeners.forEach((listener) => listener());
  }

  onChange(listener) {
    this.listeners.push(listener);
  }
}
