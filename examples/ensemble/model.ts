/** Three iris classifiers that vote; softmax counts double. Each can be asked alone as well. */

import { createModelServer, VotingEnsemble } from '../../modelserver/index.ts'
import { BayesModel, NeighboursModel, SoftmaxClassifier } from './classifiers.ts'

export const server = createModelServer({
  router: new VotingEnsemble({
    voteType: 'classification',
    weights: { neighbours: 1, bayes: 1, softmax: 2 },
    normalizeWeights: true,
  }),
})
  .addModel('neighbours', { class: NeighboursModel, params: { k: 7 } })
  .addModel('bayes', { class: BayesModel })
  .addModel('softmax', { class: SoftmaxClassifier })
