# SPDX-License-Identifier: GPL-3.0-or-later
# One release: the application's image and a last tiny layer that says which
# release it plays. WHY: eleven releases share everything else, on disk and in
# the registry, and each takes a second to build; and one that is pulled brings
# something, like a real one.
ARG APPLICATION
FROM ${APPLICATION}
# Other names than the variables': an inherited ENV would win over an ARG.
ARG NAME
ARG COMMIT
ENV RELEASE=${NAME} VERSION=${COMMIT}
LABEL org.opencontainers.image.revision=${COMMIT}
USER root
RUN echo "$COMMIT" >RELEASE && if [ -d tools ]; then node tools/select-release.js "$NAME"; fi
USER node
