# Editors: what is built and tried from here.
