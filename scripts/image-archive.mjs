/** Writes a folder as a container image of one layer, in the archive format that engines load. Asks no registry. */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { run } from './run.mjs'

const architectures = { x64: 'amd64' }
const limitMs = 120_000

/** Fixed order, owner and time: the same files make the same image. */
export const sameOrder = ['--sort=name', '--owner=0', '--group=0', '--numeric-owner', '--mtime=@0']

/** @param {{ name: string, root: string, config: object }} image `config` has Env, Entrypoint, WorkingDir … */
export async function writeArchive(file, { name, root, config }) {
  const folder = await mkdtemp(join(tmpdir(), 'perdure-archive-'))
  try {
    const layer = join(folder, 'layer')
    await mkdir(layer)
    await tar(join(layer, 'layer.tar'), root)
    const settings = {
      architecture: architectures[process.arch] ?? process.arch,
      os: 'linux',
      created: '1970-01-01T00:00:00Z',
      config,
      rootfs: { type: 'layers', diff_ids: [`sha256:${await digest(join(layer, 'layer.tar'))}`] },
      history: [{ created: '1970-01-01T00:00:00Z' }],
    }
    await writeFile(join(folder, 'config.json'), JSON.stringify(settings))
    const manifest = [{ Config: 'config.json', RepoTags: [name], Layers: ['layer/layer.tar'] }]
    await writeFile(join(folder, 'manifest.json'), JSON.stringify(manifest))
    await tar(file, folder)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

function tar(file, root) {
  return run('tar', 'tar', ['-C', root, ...sameOrder, '-cf', file, '.'], { limitMs })
}

async function digest(file) {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(file)) hash.update(chunk)
  return hash.digest('hex')
}
