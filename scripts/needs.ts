/** Finds which tools the tests of a checkout ask for, by themselves or through what they import. Provides none. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** Of the `known` names, those in a `requirement('…'` that some test below `root` reaches, wherever it stands. */
export function neededByTests(root: string, known: readonly string[]): string[] {
  const folder = join(root, 'test')
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' })
  const queue = names.filter((name) => /\.test\.tsx?$/.test(name)).map((name) => join(folder, name))
  const texts = new Map<string, string>()
  for (let file = queue.pop(); file !== undefined; file = queue.pop()) {
    if (texts.has(file) || !existsSync(file)) continue
    const text = readFileSync(file, 'utf8')
    texts.set(file, text)
    const imports = text.matchAll(/(?:from|import\()\s*'(\.[^']*\.tsx?)'/g)
    for (const [, path] of imports) queue.push(join(dirname(file), path!))
  }
  const all = [...texts.values()].join('\n')
  return known.filter((name) => new RegExp(`requirement\\(\\s*'${name}'`).test(all))
}
