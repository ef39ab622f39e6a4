// Before the first paint: the theme that was chosen here last, so that a dark page never flashes white.
const chosen = localStorage.getItem('tooloo.theme')
if (chosen) document.documentElement.dataset.theme = chosen
