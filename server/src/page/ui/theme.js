// Job: light or dark, as the system wishes or as somebody chose.
// Knows: the document's root, this browser's storage. Must never know: what is on the page.

const THEMES = ['auto', 'dark', 'light'];
const systemIsDark = matchMedia('(prefers-color-scheme: dark)');
// A browser may forbid storage; the choice then holds for this page alone.
const stored = () => {
  try {
    return localStorage.getItem('theme');
  } catch {
    return null;
  }
};
const store = (theme) => {
  try {
    localStorage.setItem('theme', theme);
  } catch {
    // See above.
  }
};

/** Makes the button a switch. `onChange` is called with each new theme, and once at the beginning. */
export function themeSwitch(button, onChange, wanted = null) {
  let theme = THEMES.includes(wanted) ? wanted : THEMES.includes(stored()) ? stored() : 'auto';
  const show = () => {
    const isDark = theme === 'dark' || (theme === 'auto' && systemIsDark.matches);
    document.documentElement.dataset.theme = isDark ? 'dark' : 'light';
    button.textContent = `Theme: ${theme}`;
    onChange(theme);
  };
  button.addEventListener('click', () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    store(theme);
    show();
  });
  systemIsDark.addEventListener('change', show);
  show();
}
