/** Which tools are provided: those that some test asks for, wherever it has them from. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { neededByTests } from '../scripts/needs.ts'
import { temporaryFolder } from './support/folders.ts'

test.each([
  ['test/records/admission.test.ts', ''],
  ['test/support/stores/postgres.ts', "import { it } from '../support/stores/postgres.ts'"],
  ['scripts/servers/postgres.ts', "import { it } from '../../scripts/servers/postgres.ts'"],
  ['scripts/servers/postgres.ts', "const { it } = await import('../../scripts/servers/postgres.ts')"],
])('a requirement in %s is found', (path, importing) => {
  const root = temporaryFolder('needs')
  const write = (name: string, text: string) => {
    mkdirSync(dirname(join(root, name)), { recursive: true })
    writeFileSync(join(root, name), text)
  }
  write('test/records/admission.test.ts', importing)
  write(path, `export const it = requirement('postgres', there)\n`)
  expect(neededByTests(root, ['docker', 'postgres'])).toEqual(['postgres'])
})
