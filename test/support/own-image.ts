/** Our own image, built from the repository's Dockerfile as users build it; bases are made here, no registry is asked. */
import { execFile, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { layOutBase } from '../../scripts/docker-image.mjs'
import { ensureBaseImage } from './docker.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const run = promisify(execFile)
const limits = { timeout: 170_000, maxBuffer: 16 * 1024 * 1024 }

export const ownImage = 'localhost/perdure:test'
const stageLabel = 'perdure.test-build'

/** What the build stage needs beyond what runs: the compiler and the types it reads. */
const compiling = ['typescript', '@typescript', '@types']

/** One to two minutes. Resolves with the image's name; of the stages nothing stays. */
export async function buildOwnImage(): Promise<string> {
  const base = await ensureBaseImage()
  // Stages inherit the label, by which they are found again; the tag keeps builds side by side apart.
  const id = randomUUID()
  const buildImage = `localhost/perdure-build:${id}`
  try {
    await importBuildImage(buildImage, `${stageLabel}=${id}`)
    const bases = ['--build-arg', `BASE_IMAGE=${base}`, '--build-arg', `BUILD_IMAGE=${buildImage}`]
    const marks = ['--label', `${stageLabel}=last`, '--tag', ownImage]
    await docker('build', '--quiet', '--force-rm', ...bases, ...marks, root)
  } finally {
    await docker('image', 'rm', '--force', buildImage)
    for (const value of [id, 'last']) {
      await docker('image', 'prune', '--force', '--filter', `label=${stageLabel}=${value}`)
    }
  }
  return ownImage
}

/** Trimmed standard output. */
export async function docker(...args: string[]): Promise<string> {
  const { stdout } = await run('docker', args, limits)
  return stdout.trim()
}

/** The last lines that a container has written, both streams. */
export async function written(container: string): Promise<string> {
  const { stdout, stderr } = await run('docker', ['logs', '--tail', '20', container], limits)
  return `${stdout}${stderr}`
}

/** A base image whose folders hold the packages that `npm ci` would have brought. */
async function importBuildImage(image: string, label: string): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'perdure-build-image-'))
  try {
    await layOutBase(folder)
    mkdirSync(join(folder, 'src/node_modules'), { recursive: true })
    // What src/node_modules lacks is looked for one folder up.
    symlinkSync('app/node_modules', join(folder, 'node_modules'))
    const moves = [
      `s,^node_modules/\\(${compiling.join('\\|')}\\)\\(/\\|$\\),src/node_modules/\\1\\2,S`,
      's,^node_modules/,app/node_modules/,S',
    ]
    const packages = [...productionPackages(), ...compiling.map((name) => `node_modules/${name}`)]
    const tar = spawn(
      'tar',
      [
        '-c',
        '--owner=0',
        '--group=0',
        `--transform=${moves.join(';')}`,
        '-C',
        folder,
        '.',
        '-C',
        root,
        ...packages,
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    )
    const settings = ['--change', 'ENV PATH=/usr/local/bin:/usr/bin:/bin', '--change', `LABEL ${label}`]
    const load = spawn('docker', ['import', ...settings, '-', image], {
      stdio: [tar.stdout, 'ignore', 'inherit'],
    })
    tar.stdout?.destroy()
    const [[packed], [loaded]] = await Promise.all([once(tar, 'exit'), once(load, 'exit')])
    if (packed !== 0 || loaded !== 0) throw new Error(`the build image cannot be made: ${packed}, ${loaded}`)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function productionPackages(): string[] {
  const lock: { packages: Record<string, { dev?: boolean }> } = JSON.parse(
    readFileSync(join(root, 'package-lock.json'), 'utf8'),
  )
  return Object.entries(lock.packages)
    .filter(([path, { dev }]) => /^node_modules\/(?:@[^/]+\/)?[^/]+$/.test(path) && dev !== true)
    .map(([path]) => path)
    .filter((path) => existsSync(join(root, path)) && !compiling.some((name) => path.split('/')[1] === name))
}
