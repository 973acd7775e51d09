// Tells what a person would see of the page: run in it by TestPageInBrowser.
(() => {
  const near = (inner, outer, slack) => inner.left >= outer.left - slack && inner.right <= outer.right + slack &&
    inner.top >= outer.top - slack && inner.bottom <= outer.bottom + slack
  const shown = e => { const r = e.getBoundingClientRect(); return r.width > 1 && r.height > 1 && getComputedStyle(e).visibility === 'visible' }
  const rgb = color => color.match(/[\d.]+/g).map(Number)
  const luminance = color => {
    const [r, g, b] = rgb(color).slice(0, 3).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  const contrast = (a, b) => { const [x, y] = [luminance(a), luminance(b)]; return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05) }
  const behind = e => {
    for (; e; e = e.parentElement) {
      const color = getComputedStyle(e).backgroundColor
      if (rgb(color)[3] !== 0) return color
    }
    return 'rgb(255, 255, 255)'
  }
  const texts = [...document.body.querySelectorAll('*')].filter(e => !['title', 'desc'].includes(e.localName) &&
    !e.closest('.hidden') && [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()))
  const ink = e => e instanceof SVGElement ? getComputedStyle(e).fill : getComputedStyle(e).color
  const size = e => parseFloat(getComputedStyle(e).fontSize) * (e.getScreenCTM ? e.getScreenCTM().a : 1)
  const chart = figure => {
    const box = figure.querySelector('svg.chart'), frame = box.getBoundingClientRect()
    const lines = [...box.querySelectorAll('path.line, circle.dot')]
    const labels = [...box.querySelectorAll('.labels.x text')].map(e => e.getBoundingClientRect())
    return {
      Title: figure.querySelector('h3').textContent,
      Name: box.querySelector('title').textContent,
      Description: box.querySelector('desc').textContent,
      Width: frame.width, Height: frame.height,
      Lines: lines.length,
      Outside: lines.filter(e => !near(e.getBoundingClientRect(), frame, 4)).length,
      Colors: [...new Set(lines.map(e => getComputedStyle(e).color))],
      Faint: lines.filter(e => contrast(getComputedStyle(e).color, behind(box)) < 3).length,
      Widest: Math.max(0, ...lines.map(e => e.getBoundingClientRect().width)),
      Legend: [...figure.querySelectorAll('.legend li')].filter(shown).map(e => e.textContent.trim()),
      Kills: box.querySelectorAll('line.kill').length,
      Limits: box.querySelectorAll('line.limit').length,
      LabelsMeet: labels.some((l, i) => i > 0 && l.left < labels[i - 1].right + 2),
    }
  }
  const verdict = document.getElementById('verdict').getBoundingClientRect()
  return {
    Width: innerWidth, ScrollWidth: document.documentElement.scrollWidth,
    VerdictBottom: verdict.bottom, VerdictSize: size(document.getElementById('verdict')),
    Verdict: document.getElementById('verdict').innerText,
    Small: texts.filter(e => size(e) < 11.99).map(e => e.textContent.trim()),
    Faint: texts.filter(e => contrast(ink(e), behind(e)) < 4.5).map(e => e.textContent.trim()),
    Beyond: texts.filter(e => !e.closest('.scroll') && (e.getBoundingClientRect().right > innerWidth || e.getBoundingClientRect().left < 0)).map(e => e.textContent.trim()),
    Headings: [...document.querySelectorAll('h1, h2, h3')].map(e => e.localName),
    RowHeaders: [...document.querySelectorAll('tbody tr')].every(e => e.querySelector('th[scope=row], th[scope=rowgroup]')),
    ColumnHeaders: [...document.querySelectorAll('thead th[scope=col]')].length,
    Foreign: document.querySelectorAll('script, img, iframe, object, embed, form, a, [onload], [onerror]').length,
    Hacked: window.hacked === true,
    Text: document.body.innerText,
    Charts: [...document.querySelectorAll('figure')].map(chart),
  }
})()
